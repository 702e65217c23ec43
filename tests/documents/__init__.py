"""Pages of documentation, and their tests.

How a page is tested:

1. docs/NAME.rst is tested in tests/documents/test_NAME.py, docs/FOLDER/NAME.rst in tests/documents/test_FOLDER_NAME.py,
   with ``_`` in place of ``-``. The module has ``PAGE = Page("docs/FOLDER/NAME.rst")`` of tests/documents/pages.py.
2. Every block of the page, in whatever language, is named there when the module is imported: a block by its section's
   title and its number among the section's blocks in its language, from 0. ``::`` without a language is "text".
3. ``@PAGE.runs("Section", 0, 1)`` above a test gives it these Python blocks, joined, as its argument ``code``;
   ``language="bash"`` those of another language. ``TEXT = PAGE.code("Section", 0, language="nginx")`` at the module's
   level is the same for a block that a test takes by itself.
4. To name is to promise: the program runs, its output is compared, a configuration is checked by the program that reads
   it, a shell command is executed, with other ports and paths. Names that a test only holds for the count are a lie.
5. ``.. literalinclude:: ../../examples/FILE`` in a page counts when a module says ``PAGE.file("examples/FILE")``, which
   is the file's path, for a test that runs the file.
6. tests/documents/test_site.py fails for a page with a block that no module names. Another module may name some, for
   example a browser's: it makes a Page of its own.
7. Write ``code-block`` with its language: a page has no doctests (``>>>``). ``highlight`` stands in docs/api alone, for
   blocks of docstrings.
"""
