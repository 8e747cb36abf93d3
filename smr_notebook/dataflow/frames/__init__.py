"""Jobs over frames: the program of `map_frames`, and the frames of each library as rows of Arrow columns and back."""
