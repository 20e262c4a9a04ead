"""Reusable code of the course on pretrained image networks; importing it runs nothing.

The rooms, from the ground up; a room imports only from lower floors:

1. `errors`, `backend`
2. `catalogue`, `images`, `architectures`
3. `weights`, `datasets`
4. `zoo`, `features`
5. `bottlenecks`
6. `finetune`
7. `plots`, `checks`, `doctor`
8. `__main__`, the command line
"""
