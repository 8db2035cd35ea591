"""Valid files of users, mutated: every reader gives a right value or a `UserError`, quickly and in bounded memory."""
