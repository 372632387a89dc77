"""The web page: its content, the requests it accepts, and the answers it keeps."""
