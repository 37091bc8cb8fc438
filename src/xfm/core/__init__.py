"""What every room needs: errors and what machines refuse, files, paths, locks, processes, the sandbox.

Nothing of models, data or configuration enters, and whatever is here imports no other room. What leaves are
functions: sentences for users, files that are whole or not there, locks that end with their process.
"""
