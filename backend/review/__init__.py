"""The analysts' pages below /review: what is served, what got tighter, and what people say of it.

    routes       paths of the pages; mounted by server.app
    forms        what analysts send
    pictures     images below masks; style, script and icon
    pages        what the pages about versions show
    mask_pages   what the pages about masks show
    rendering    templates filled in
    visitor      who looks, and what of the masks is wanted
    reviewed     versions and the objects that they were measured on, looked up
    figures      versions as rows, and their trend
    cards        held-out masks in an order, outlined
    crops        images of masks, at the size shown
    flags        what analysts say of a mask
    tasks        links into Label Studio, and its tab of masks to draw again
    label_order  which tasks to label first
    versions     what pages say of versions beyond their figures
    projects     what Label Studio says of projects, and the list of them all

Rendered here, without a build step: a page works without a script, which adds keys, live figures and the slider.
"""
