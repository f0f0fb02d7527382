"""Tables and figures made from experiment folders; nothing in them is typed by hand."""
