"""The bench: `programs` are measured by `rates`, `log`, `transfer`, `start`, `memory` and `spin`; `report` and `picture` say so."""
