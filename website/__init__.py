"""The documentation site: pages that are made from the code, and what mkdocs needs to build all of them."""
