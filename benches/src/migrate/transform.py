# table.transform() of sqlite-utils; prints seconds.
import sys
import time

import sqlite_utils

database = sqlite_utils.Database(sys.argv[1])
started = time.monotonic()
database["item"].transform(not_null={"name"}, defaults={"name": ""})
print(time.monotonic() - started)
