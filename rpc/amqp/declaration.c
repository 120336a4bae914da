/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See declaration.h.
 */
#include "rpc/amqp/declaration.h"

static void declaration_free(gpointer data)
{
	struct declaration *declaration = data;

	g_free(declaration->name);
	g_free(declaration->exchange);
	g_free(declaration->key);
	g_free(declaration);
}

GPtrArray *declaration_list_new(void)
{
	return g_ptr_array_new_with_free_func(declaration_free);
}

struct declaration *declaration_list_add(GPtrArray *list, enum declaration_kind kind,
					 const char *name)
{
	struct declaration *declaration = g_new0(struct declaration, 1);

	declaration->kind = kind;
	declaration->name = g_strdup(name);
	g_ptr_array_add(list, declaration);
	return declaration;
}

void declaration_list_bind(GPtrArray *list, enum declaration_kind kind, const char *name,
			   const char *exchange, const char *key)
{
	struct declaration *binding = declaration_list_add(list, kind, name);

	binding->exchange = g_strdup(exchange);
	binding->key = g_strdup(key);
}

struct declaration_argument *declaration_add_argument(struct declaration *declaration,
						      const char *name,
						      enum declaration_argument_type type)
{
	struct declaration_argument *argument =
		&declaration->arguments[declaration->argument_count++];

	*argument = (struct declaration_argument){.name = name, .type = type};
	return argument;
}

void declaration_add_text(struct declaration *declaration, const char *name, const char *text)
{
	struct declaration_argument *argument =
		declaration_add_argument(declaration, name, DECLARATION_TEXT);

	(void)g_strlcpy(argument->text, text, sizeof(argument->text));
}

void declaration_add_number(struct declaration *declaration, const char *name, int64_t number)
{
	if (number != 0)
		declaration_add_argument(declaration, name, DECLARATION_NUMBER)->number = number;
}

void declaration_add_flag(struct declaration *declaration, const char *name)
{
	declaration_add_argument(declaration, name, DECLARATION_FLAG)->number = 1;
}
