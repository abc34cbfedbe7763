"""Fresh pre-annotations: the backend computes them, Label Studio stores them.

walk             every task that nobody touched gets one prediction of the served version
rules            what the settings say of a refresh, and its limits
asking           asks the backend for a batch's predictions
writing          stores a batch's predictions in Label Studio
patience         waits out failures that pass, and notices that the refresh is over
tally            what became of a project's tasks
client           asks the running backend for masks over HTTP
old_predictions  deletes the predictions of an old version
protocol         what the backend tells a refresh beside a prediction
"""
