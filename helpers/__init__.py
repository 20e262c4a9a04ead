"""Reusable code of the course on pretrained image networks; importing it runs nothing.

The rooms, from the ground up (a room imports only from lower floors):

1. `errors`, `catalogue`
2. `images`, `weights`, `architectures`
3. `zoo`, `datasets`
4. `bottlenecks`, `finetune`
5. `plots`, `doctor`
6. `__main__`, the command line
"""
