"""What pages say of versions beyond their figures.

verdict  the last training's verdict, and whether a person has decided otherwise since
"""
