"""The page of `xfm demo`: a tab for each thing that models do, on the public routes of the HTTP API."""
