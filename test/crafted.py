"""An object whose unpickling makes a folder: what a crafted file could do."""

import os


class Evil:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)
