"""The local `TaskService`: decodes media, writes prompts, drives the engine."""
