"""The demo's guide: where to click, and what every step should show."""

from dataclasses import dataclass

_GUIDE = """
  1. Open    {label_studio}/projects/{project}/data
     Log in  {user}   password  {password}
  2. Open one of the {waiting} images that have no annotation yet: they are at the end of the list.
  3. Make clicking pleasant, once: open the editor's settings (the sliders at the bottom) and switch on
     "Keep label selected after creating a region"; then switch on Auto-Annotation and Auto-Accept Suggestions.
     Without Auto-Accept, accept every mask (the green tick) before you go to the next object: a click beside
     an unaccepted mask refines that mask.
  4. Pick the label under "Click on {object_noun}". Press M for the smart tool (pink, at the bottom right;
     hover over it and choose the three dots). Click on {object_noun}: Segment Anything draws the mask.
     To remove a part of a finished mask, click on that part with CTRL + ALT. Submit at the end.
  5. {label_studio}/projects/{project}/settings/ml: the three dots of "samloop", Start Training.
     This terminal and the review pages show its progress: {backend}/review/{project}
  6. When the new version serves, click on {object_noun} again: the masks are tighter.
     If a version is not promoted, the old version keeps serving. The terminal and its review page say why.
     Annotate a few more images and train again, or promote the version on its page.

  Ctrl-C stops everything.

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """The addresses and names in the guide.

    Attributes:
        label_studio: its address, without a slash at the end; `backend` is the backend's.
        waiting: how many images have no annotation.
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
        """Return the steps, in order."""
        return _GUIDE.format(
            label_studio=self.label_studio,
            backend=self.backend,
            project=self.project,
            user=self.user,
            password=self.password,
            waiting=self.waiting,
            object_noun=self.object_noun,
        )
