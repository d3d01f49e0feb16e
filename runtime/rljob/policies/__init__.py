"""Policies outside of their run: loaded to act, written in other formats, served."""
