"""Collections of pictures: vectors in a store, a journal of what is added, a search that may find nothing."""
