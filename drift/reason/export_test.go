package reason

// For tests.
var (
	Changes  = changes
	Spearman = spearman
)
