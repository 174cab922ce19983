"""The trunk behind HTTP: images come in requests, rows and pictures go out as answers. Needs the extra `serve`."""
