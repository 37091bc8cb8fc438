"""Any data set read before training: what is damaged, absurd or there twice, as counts and a page."""
