"""Fresh pre-annotations: the backend computes them, Label Studio stores them.

walk             gives every untouched task one prediction of the served version
rules            the settings of a refresh, and its limits
pace             how large batches are, and when the next may begin
asking           asks the backend for a batch's predictions
writing          stores a batch's predictions in Label Studio
patience         waits out failures that pass, and notices when the refresh must end
tally            counts what became of a project's tasks
client           asks the running backend for masks over HTTP
old_predictions  deletes the predictions of an old version
protocol         the backend's answer to a refresh, for one task
"""
