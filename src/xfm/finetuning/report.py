"""`report.html` of a fine-tuning."""

REPORT = "report.html"
