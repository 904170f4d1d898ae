TEXT = "imported late"
