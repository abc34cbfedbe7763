"""A folder that holds a registry: whole folders by their content, numbered files, and what the disk's errors mean.

contents  published checkpoints by their content
refs      numbered files, the highest is the latest
disk      turns errors of the disk into samloop's
"""
