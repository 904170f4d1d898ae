"""The bench: `programs` are started by `processes`, and measured by `rates` (with `load`), `log`, `transfer`, `start`,
`memory` and `spin`; `report`, `picture` and `readme` say so."""
