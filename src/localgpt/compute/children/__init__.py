"""Programs that ask drivers what is there, each in a process of its own, since drivers may crash or hang."""
