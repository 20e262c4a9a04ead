"""The exercises of the lessons: what is right, hints about mistakes, and solutions.

A lesson says `from exercises import lesson_04 as exercises`. The cell of an exercise ends with
`exercises.q2.check(answer, variable)`; the names are those of the judge's parameters. The check
cell below it says `exercises.q2.verify(globals())`, which tries the solution and the wrong answers.
"""
