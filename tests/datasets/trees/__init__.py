"""Small trees of files, laid out like the published data sets."""
