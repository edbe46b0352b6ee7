using System.Text.RegularExpressions;

namespace EdgeSimulator.Hub;

/// <summary>
/// A routing query after WHERE, in a subset of IoT Hub's message routing query language: comparisons, AND, OR, NOT,
/// parentheses, application properties, some system properties, <c>$body</c>, some functions. As in IoT Hub, comparing
/// undefined values or different types is neither true nor false, and only a true condition matches. Immutable.
/// </summary>
internal sealed partial class RouteCondition
{
    delegate object? Term(RoutedMessage message);

    static readonly Dictionary<string, (int Arguments, Func<object?[], object?> Apply)> Functions = new(StringComparer.OrdinalIgnoreCase)
    {
        ["IS_DEFINED"] = (1, a => a[0] is not Undefined),
        ["IS_NULL"] = (1, a => a[0] is null),
        ["IS_STRING"] = (1, a => a[0] is string),
        ["IS_NUMBER"] = (1, a => a[0] is double),
        ["IS_BOOL"] = (1, a => a[0] is bool),
        ["AS_NUMBER"] = (1, a => a[0] as double? ?? (a[0] is string text ? RoutedMessage.Number(text) : Undefined.Value)),
        ["LENGTH"] = (1, a => a[0] is string text ? (double)text.Length : Undefined.Value),
        ["LOWER"] = (1, a => a[0] is string text ? text.ToLowerInvariant() : Undefined.Value),
        ["UPPER"] = (1, a => a[0] is string text ? text.ToUpperInvariant() : Undefined.Value),
        ["STARTS_WITH"] = (2, a => OfTexts(a, (text, part) => text.StartsWith(part, StringComparison.Ordinal))),
        ["ENDS_WITH"] = (2, a => OfTexts(a, (text, part) => text.EndsWith(part, StringComparison.Ordinal))),
        ["CONTAINS"] = (2, a => OfTexts(a, (text, part) => text.Contains(part, StringComparison.Ordinal))),
    };

    readonly Term _term;

    RouteCondition(string text, Term term)
    {
        Text = text;
        _term = term;
    }

    public string Text { get; }

    /// <exception cref="FormatException">The text is invalid or not supported; the message says where.</exception>
    public static RouteCondition Parse(string text) => new(text, new Parser(text).Whole());

    public bool Holds(RoutedMessage message) => _term(message) is true;

    static object OfTexts(object?[] arguments, Func<string, string, bool> test) =>
        arguments is [string text, string part] ? test(text, part) : Undefined.Value;

    static object? Compare(string operation, object? left, object? right)
    {
        if (left is Undefined || right is Undefined)
        {
            return Undefined.Value;
        }

        if (operation is "=" or "!=" or "<>" && (left?.GetType() == right?.GetType()))
        {
            return Equals(left, right) == (operation == "=");
        }

        int? order = (left, right) switch
        {
            (double a, double b) => a.CompareTo(b),
            (string a, string b) => string.CompareOrdinal(a, b),
            _ => null,
        };
        return (operation, order) switch
        {
            (_, null) => Undefined.Value,
            ("<", < 0) or (">", > 0) or ("<=", <= 0) or (">=", >= 0) => true,
            _ => false,
        };
    }

    /// <summary>Recursive descent: OR of ANDs of NOTs of comparisons.</summary>
    sealed partial class Parser(string text)
    {
        int _position;
        string _token = "";

        public Term Whole()
        {
            Advance();
            var term = Or();
            return _token.Length == 0 ? term : throw Unexpected("AND, OR or end of text");
        }

        Term Or()
        {
            var term = And();
            while (TryTakeWord("OR"))
            {
                var (left, right) = (term, And());
                term = message => (left(message), right(message)) switch
                {
                    (true, _) or (_, true) => true,
                    (false, false) => false,
                    _ => Undefined.Value,
                };
            }

            return term;
        }

        Term And()
        {
            var term = Not();
            while (TryTakeWord("AND"))
            {
                var (left, right) = (term, Not());
                term = message => (left(message), right(message)) switch
                {
                    (false, _) or (_, false) => false,
                    (true, true) => true,
                    _ => Undefined.Value,
                };
            }

            return term;
        }

        Term Not()
        {
            if (!TryTakeWord("NOT"))
            {
                return Comparison();
            }

            var term = Not();
            return message => term(message) is bool value ? !value : Undefined.Value;
        }

        Term Comparison()
        {
            var left = Operand();
            if (_token is not ("=" or "!=" or "<>" or "<" or "<=" or ">" or ">="))
            {
                return left;
            }

            var operation = Take();
            var right = Operand();
            return message => Compare(operation, left(message), right(message));
        }

        Term Operand()
        {
            if (_token == "(")
            {
                Take();
                var inner = Or();
                Take(")");
                return inner;
            }

            if (_token.Length > 1 && _token[0] is '\'' or '"')
            {
                var literal = Take();
                var content = literal[1..^1].Replace($"{literal[0]}{literal[0]}", $"{literal[0]}", StringComparison.Ordinal);
                return _ => content;
            }

            if (_token.Length > 0 && (char.IsAsciiDigit(_token[0]) || _token[0] == '-'))
            {
                return RoutedMessage.Number(_token) is double number && Take().Length > 0 ? _ => number : throw Unexpected("a number");
            }

            if (_token.Length == 0 || !(char.IsLetter(_token[0]) || _token[0] is '_' or '$' or '{'))
            {
                throw Unexpected("a value, a property or a function");
            }

            return Name();
        }

        Term Name()
        {
            var (name, position) = (_token, _position - _token.Length);
            if (name.ToUpperInvariant() is "AND" or "OR" or "NOT")
            {
                throw Unexpected("a value, a property or a function");
            }

            Take();
            if (_token == "(")
            {
                return Call(name, position);
            }

            switch (name.ToUpperInvariant())
            {
                case "TRUE":
                    return _ => true;
                case "FALSE":
                    return _ => false;
                case "NULL":
                    return _ => null;
                case "UNDEFINED":
                    return _ => Undefined.Value;
                default:
                    break;
            }

            if (name.StartsWith("$body.", StringComparison.OrdinalIgnoreCase))
            {
                string[] path = [.. name["$body.".Length..].Split('.', '[').Select(step => step.TrimEnd(']'))];
                return message => message.InBody(path);
            }

            if (name[0] == '$')
            {
                return RoutedMessage.IsSystemProperty(name[1..])
                    ? message => message.SystemProperty(name[1..])
                    : throw Wrong(
                        position,
                        $"unknown system property '{name}'; supported: {RoutedMessage.SystemPropertyNames}, $body");
            }

            var key = name[0] == '{' ? name[1..^1] : name;
            return message => message.Property(key);
        }

        Term Call(string name, int position)
        {
            if (!Functions.TryGetValue(name, out var function))
            {
                throw Wrong(position, $"unknown function '{name}'; supported: {string.Join(", ", Functions.Keys)}");
            }

            Take("(");
            var arguments = new List<Term>();
            while (_token != ")")
            {
                if (arguments.Count > 0)
                {
                    Take(",");
                }

                arguments.Add(Or());
            }

            Take(")");
            return arguments.Count == function.Arguments
                ? message => function.Apply([.. arguments.Select(argument => argument(message))])
                : throw Wrong(position, $"'{name}' requires {function.Arguments} arguments, not {arguments.Count}");
        }

        bool TryTakeWord(string word)
        {
            var isWord = _token.Equals(word, StringComparison.OrdinalIgnoreCase);
            if (isWord)
            {
                Take();
            }

            return isWord;
        }

        void Take(string expected)
        {
            if (_token != expected)
            {
                throw Unexpected($"'{expected}'");
            }

            Take();
        }

        string Take()
        {
            var token = _token;
            Advance();
            return token;
        }

        void Advance()
        {
            var match = Tokens().Match(text, _position);
            _position = match.Index + match.Length;
            _token = match.Groups["token"].Value;
        }

        FormatException Unexpected(string expected) => Wrong(
            _position - _token.Length,
            _token.Length == 0 ? $"expected {expected}, not end of text" : $"expected {expected}, not '{_token}'");

        FormatException Wrong(int position, string what) => new($"at character {position + 1} of '{text}': {what}");

        [GeneratedRegex("""\G\s*(?<token>'(''|[^'])*'|"(""|[^"])*"|\$?[\p{L}_][\w.-]*(\[\d+\][\w.-]*)*|\{[^}]+\}|-?\d+(\.\d+)?([eE][+-]?\d+)?|<>|!=|<=|>=|\|\||\S|$)""",
            RegexOptions.ExplicitCapture)]
        private static partial Regex Tokens();
    }
}

/// <summary>The value of a missing property in a routing query.</summary>
internal sealed class Undefined
{
    public static readonly Undefined Value = new();

    Undefined()
    {
    }
}
