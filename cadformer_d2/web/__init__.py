"""The page in the browser: what it shows, what it may be asked, what it keeps."""
