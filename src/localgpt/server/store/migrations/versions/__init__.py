"""The steps. A step that was released is never changed; what it got wrong, the next one mends."""
