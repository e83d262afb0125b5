package monitor

// Every is every.
var Every = every
