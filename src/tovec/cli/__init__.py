"""The face: Typer and Rich live here and nowhere else; one file a command, no logic."""
