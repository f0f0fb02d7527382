"""Tables and figures generated from experiment folders, with nothing entered by hand."""
