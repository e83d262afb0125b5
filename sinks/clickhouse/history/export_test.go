package history

// FillWithin sets how many bytes a thread of a statement of Fill may take.
func (p *Profiler) FillWithin(bytes int) { p.bytes = bytes }
