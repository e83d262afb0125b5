package stattest

// For tests in package stattest_test.
var (
	ChiSquareTail      = chiSquareTail
	DrawHypergeometric = drawHypergeometric
)

// HypergeometricPMF is the probability of k good ones among n of good and bad ones, as a logarithm.
func HypergeometricPMF(good, bad, n, k float64) float64 {
	return newHypergeometric(good, bad, n).logPMF(k)
}
