"""The analysts' pages below /review: which version is served, which masks got tighter, and what analysts say.

    routes       paths of the pages; mounted by server.app
    forms        what analysts send
    pictures     images below masks; style, script and icon
    pages        what the pages about versions show
    rendering    templates filled in
    visitor      the analyst, and the masks that the query asks for
    reviewed     looks up versions and the objects that they were measured on
    figures      versions as rows of a table
    flags        what analysts say of a mask
    tasks        links to Label Studio, and its tab of tasks to label again
    images       images of a training, and whole images with all that is drawn on them
    masks        held-out masks: their pages, their outlines, the images below them
    versions     comparisons and verdicts
    projects     titles and counts from Label Studio, and the list of all projects

Pages are rendered here, without a build step. They work without their script, which adds keys, live figures and the
slider.
"""
