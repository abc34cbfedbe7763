"""The analysts' pages below /review/{project}: what is served, what got tighter, and what people say of it.

    routes       paths and forms; mounted by app
    page_route   what each request passes: hosts, cross-site requests, errors as pages, headers
    pages        what each page shows, and the templates
    figures      versions as rows, two of them compared, and the trend
    cards        held-out masks in an order, outlined
    crops        pictures of them, at the size shown
    flags        what analysts say of a mask
    tasks        links into Label Studio, and its tab of masks to draw again
    label_order  which tasks to label first

Rendered here, without a build step: a page works without a script, which adds keys, live figures and the slider.
"""
