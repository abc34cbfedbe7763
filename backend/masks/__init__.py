"""Geometry of arrays: what people point at, and masks measured, packed, filled, outlined. No torch, no Label Studio.

    prompt     clicks, a box, a mask: what a person points at
    crop       parts of an image: crops and overlapping tiles
    bounds     a mask's bounding box, and the pixel deepest inside it
    packed     masks cut out, packed and deflated, as they are held and written to files
    rasterize  polygons, ellipses and rectangles to masks
    strokes    strokes of a round brush to masks
    polygons   masks to polygons that a person can edit
    tracing    the outlines of a mask's parts
    specks     small islands and holes, taken out of a mask
    fit        the ellipse of a mask, and a mask without its specks
    points     points that stand for a mask or a stroke
    svg        a mask's edge as an SVG path, and masks resized for display
    metrics    how far a mask is from the truth

Frame, unless a function says otherwise: pixels of the upright image (EXIF rotation applied), x to the right and y down,
origin at the image's top left corner; pixel (row, column) has its centre at (column + 0.5, row + 0.5).
"""
