// What editor_state.py asks of Label Studio's editor; run in its page, and called by name.

// Forget the last answer to a gesture, and keep the next, for the message of a test that fails.
function watch_answer() {
  const plain = window.samloopFetch ??= window.fetch;
  window.samloopAnswer = "nothing was asked";
  window.fetch = async (asked, ...rest) => {
    const isGesture = String(asked?.url ?? asked).includes("interactive-annotating");
    if (isGesture) window.samloopAnswer = "no answer yet";
    const answer = await plain(asked, ...rest);
    if (isGesture) window.samloopAnswer = `${answer.status} ${(await answer.clone().text()).slice(0, 1000)}`;
    return answer;
  };
}

// The editor as it stands, or null while it shows no annotation of an image.
function state() {
  const store = window.Htx, annotation = store?.annotationStore?.selected;
  const image = annotation?.objects?.find((object) => object.type === "image");
  if (!image) return null;
  const chosen = (tag) => (tag.selectedValues?.() ?? []).map((value) => `${tag.type}: ${value}`);
  return {
    task_id: Number(store.task?.id ?? 0),
    annotation: annotation.id,
    is_at_rest: !store.isLoading && !store.isSubmitting && image.imageIsLoaded && annotation.type === "annotation",
    is_assisted: store.autoAnnotation,
    is_awaiting: store.awaitingSuggestions,
    is_submitted: store.isSubmitting || annotation.sentUserGenerate || /^\d+$/.test(annotation.pk ?? ""),
    tool: image.getToolsManager().findSelectedTool()?.fullName ?? "none",
    labels: Array.from(annotation.names.values()).flatMap(chosen),
    drawn: Array.from(annotation.areas.values()).filter((area) => area.dynamic).map((area) => area.id),
    suggestions: Array.from(annotation.suggestions.values()).map((region) => region.cleanId),
    answer: window.samloopAnswer ?? "nothing was asked",
  };
}
