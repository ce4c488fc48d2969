"""Speed and memory beside the libraries, printed as tables in Markdown."""
