"""What the demo tells whoever clicks through it: where to go, and what each step should show."""

from dataclasses import dataclass

_GUIDE = """
  1. Open    {label_studio}/projects/{project}/data
     Log in  {user}   password  {password}
  2. Open one of the {waiting} images that have no annotation yet: the last ones of the list.
  3. Make clicking pleasant, once: open the editor's settings (the sliders at the bottom) and switch on
     "Keep label selected after creating a region"; then switch on Auto-Annotation and Auto-Accept Suggestions.
     Without Auto-Accept, accept every mask (the green tick) before you go to the next object: a click beside a
     mask that waits refines that mask.
  4. Pick the label under "Click on {object_noun}". Press M for the smart tool (the pink one, the lowest at the right;
     the mouse on it shows both: choose the three dots). Click on {object_noun}: the mask is Segment Anything's.
     To take a part away from a mask that stands, click on that part with CTRL + ALT. Submit at the end.
  5. {label_studio}/projects/{project}/settings/ml: the three dots of "samloop", Start Training.
     What the training does is told here, and on the review pages: {backend}/review/{project}
  6. When the new version is served, click on {object_noun} again: the masks are tighter.
     If a version is not promoted, the old one goes on serving. The reason is told here and on its review page.
     Annotate a few more images and train again, or promote it there by hand.

  Ctrl-C stops everything.

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """Where everything is.

    Attributes:
        label_studio: its address, without a slash at the end; `backend` is the backend's.
        waiting: images that have no annotation.
        object_noun: what a person clicks on, with its article.
    """

    label_studio: str
    backend: str
    project: int
    user: str
    password: str
    waiting: int
    object_noun: str

    def text(self) -> str:
        """The steps, in order."""
        return _GUIDE.format(
            label_studio=self.label_studio,
            backend=self.backend,
            project=self.project,
            user=self.user,
            password=self.password,
            waiting=self.waiting,
            object_noun=self.object_noun,
        )
