"""All that can be known of a recipe before its training runs begin."""
