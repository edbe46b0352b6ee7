using System.Text.Json;
using SensorForwarder.Configuration;
using SensorForwarder.Options;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Options;

/// <summary>Rules for the options of all tables, and parsing of environment variables.</summary>
public sealed class OptionTests
{
    static readonly Option<int> Size = Option.Integer("Size", 1, 100, 5, "Text.");
    static readonly Option<bool> Flag = Option.Flag("Flag", true, "Text.");
    static readonly Option<string> Colour = Option.Choice("Colour", ["red", "green"], "red", "Text.");
    static readonly Option<IReadOnlyList<string>> Names =
        Option.List("Names", "names without x", ",", name => name.Contains('x') ? null : name, "Text.");

    static string Read<T>(Option<T> option, string text) =>
        option.TryRead(text, out var value, out var problem) ? $"{value}" : problem;

    [Fact]
    public void Every_option_has_a_unique_name_and_a_text_and_accepts_its_default()
    {
        IEnumerable<Option>[] tables =
        [
            SettingsTable.All.Select(setting => setting.Option), BootTable.All.Concat(OtlpBootReader.All),
            .. Module.SensorKinds.All.Select(kind => kind.AllOptions),
        ];
        foreach (var table in tables.Select(table => table.ToList()))
        {
            Assert.Equal(table.Count, table.Select(option => option.Name).Distinct().Count());
            Assert.All(table, option => Assert.EndsWith(".", option.Text, StringComparison.Ordinal));
            foreach (var option in table.Where(option => option.Default is not null))
            {
                using var json = JsonDocument.Parse(option.Default!.ToJsonString());
                Assert.Null(option.Objection(json.RootElement));
            }
        }
    }

    [Theory]
    [InlineData("7", "7")]
    [InlineData("007", "7")]
    [InlineData("7.0", "7")]
    [InlineData("7.5", "'7.5' is not allowed; allowed is an integer from 1 to 100")]
    [InlineData("101", "'101' is not allowed; allowed is an integer from 1 to 100")]
    [InlineData("many", "'many' is not allowed; allowed is an integer from 1 to 100")]
    [InlineData("1e999", "'1e999' is not allowed; allowed is an integer from 1 to 100")]
    [InlineData("", "'' is not allowed; allowed is an integer from 1 to 100")]
    public void A_number_is_read_from_text(string text, string result) => Assert.Equal(result, Read(Size, text));

    [Theory]
    [InlineData("FALSE", "False")]
    [InlineData("true", "True")]
    [InlineData("1", "'1' is not allowed; allowed is true or false")]
    public void A_flag_is_read_from_text(string text, string result) => Assert.Equal(result, Read(Flag, text));

    [Theory]
    [InlineData("GREEN", "green")]
    [InlineData("gren", "'gren' is not allowed; allowed is one of \"red\", \"green\" (did you mean green?)")]
    [InlineData("https://u:pw@h", "a text of 14 characters is not allowed; allowed is one of \"red\", \"green\"")]
    public void A_choice_is_read_from_text_in_any_case(string text, string result) => Assert.Equal(result, Read(Colour, text));

    [Fact]
    public void An_invalid_list_entry_is_refused_by_its_number_without_showing_its_text()
    {
        Assert.True(Names.TryRead(" a,,b ,", out var names, out _));
        Assert.Equal(["a", "b"], names);
        Assert.Equal("entry 2 is not allowed; allowed is a list of names without x", Read(Names, "a,xyz,b"));
    }

    [Fact]
    public void The_refusal_of_a_secret_option_does_not_show_its_value()
    {
        Assert.Equal("the value is not allowed; allowed is one of \"red\", \"green\"", Read(Colour.Secret(), "hunter2"));
        using var json = JsonDocument.Parse("\"hunter2\"");
        Assert.Equal("the value is not allowed; allowed is one of \"red\", \"green\"", Colour.Secret().Objection(json.RootElement));
    }
}
