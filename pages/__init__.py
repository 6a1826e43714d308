"""Draw pages: pure functions of stored JSON to self-contained HTML. No torch, no Ray, no kind's and no task's name.

`model_page` and `data_page` arrange what is stored into sections of marks (`evergreen.core.marks`); `layout` renders
them with the templates; `charts` draws one mark.
"""
