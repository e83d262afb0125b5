package multivariate

// AUC is the area under the ROC curve.
func AUC(scores []float64, positive []bool) float64 { return auc(scores, positive) }

// AgainstNull is the p-value of Classify.
func AgainstNull(x float64, null []float64) float64 { return againstNull(x, null) }

// EnergyByReference is Energy with the reference's scale.
func EnergyByReference(reference, current Matrix, o EnergyOptions) (EnergyResult, error) {
	o.byReference = true
	return Energy(reference, current, o)
}
