package operate

var HandOver = handOver
