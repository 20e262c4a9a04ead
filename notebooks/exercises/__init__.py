"""The exercises of the lessons: what is right, hints about mistakes, and solutions."""
