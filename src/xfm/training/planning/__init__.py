"""What a pre-training takes, before it runs: memory of a process, time, cost, and settings that fit."""
