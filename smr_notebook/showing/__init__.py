"""What is shown to people, as pure functions of plain values: amounts, distributions, sheets of facts."""
